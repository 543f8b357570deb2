"""What happens when things break: kills, sabotage, full disks, damaged records, two at once."""
