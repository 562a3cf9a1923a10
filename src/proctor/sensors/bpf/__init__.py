"""The BPF programs: their source, and the object that ``make bpf`` builds of it. The system's libbpf loads it."""
