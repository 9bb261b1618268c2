"""Kernels in C for what a training step on CPUs spends its time in; see docs/adr/0008-native-kernels.md."""
