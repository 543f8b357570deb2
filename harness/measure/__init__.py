"""Measuring: host facts, latency, throughput, memory; one fresh process per timing."""
