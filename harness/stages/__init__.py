"""The stages of a fit, each a function from a job to files. They run inside worker processes."""
