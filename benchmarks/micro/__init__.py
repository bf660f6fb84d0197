"""Figures that do not drift with the machine: what one request, and one piece of a body, make Python do."""
