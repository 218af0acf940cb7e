"""For a source checkout only: nothing in here is installed with Airlock."""
