"""The composition root: wires sensors, journal, detectors, responses and reports into one episode."""
