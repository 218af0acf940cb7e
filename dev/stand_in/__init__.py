"""Stand-ins for machines that reach PyPI and Debian's packages, but no image registry or no conda channel.

    debian:bookworm-slim   a base image made by mmdebstrap (base.py)
    conda-forge            a conda channel made of PyPI's wheels and Debian's Python and R (channel.py),
                           served on loopback while the image is built

Both are used only where the real thing does not answer (probe.py). The image's Dockerfile, environment.yml
and installer are the same either way.
"""
