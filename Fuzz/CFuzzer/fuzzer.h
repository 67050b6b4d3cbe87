// The entry of libFuzzer, which comes with the toolchain and has no header of its own.
#pragma once
#include <stddef.h>
#include <stdint.h>

/// Runs libFuzzer with its options; `one` is called with each input and returns 0.
int LLVMFuzzerRunDriver(
    int *argc, char ***argv, int (*one)(const uint8_t *data, size_t count));
