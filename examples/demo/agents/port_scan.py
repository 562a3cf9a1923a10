"""Asks for three ports on each of twenty addresses. The sandbox's own network has no way there: nothing leaves it."""

import socket

answered = 0
for host in range(1, 21):
    for port in (22, 80, 443):
        with socket.socket() as probe:
            probe.settimeout(0.2)
            answered += probe.connect_ex((f"10.9.0.{host}", port)) == 0
print(f"{answered} of 60 answered")
