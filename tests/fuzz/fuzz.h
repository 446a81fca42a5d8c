#ifndef GDFO_TESTS_FUZZ_FUZZ_H
#define GDFO_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/*
 * What libFuzzer and our replay driver call: any bytes at all. A target asserts with GDFO_CHECK, so
 * that a broken promise ends the process in every build. One target per parser of outside bytes:
 * fuzz_<name>.c here, its corpus in corpus/<name>/.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#endif
