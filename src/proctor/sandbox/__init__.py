"""Containment: namespaces, mounts, Landlock and the seccomp filter whose notifications the kernel sensor reads.

Standard library and ctypes only. Nothing here judges: it builds what the policy allows and says what the kernel gave.
"""
