"""The program inside the container: read one job, run it, write what came of it, exit."""
