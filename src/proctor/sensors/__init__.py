"""Sources of events: the kernel (seccomp notifications), watched files and resource use."""
