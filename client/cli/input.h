#ifndef GDFO_CLIENT_CLI_INPUT_H
#define GDFO_CLIENT_CLI_INPUT_H

#include "common/buf.h"
#include "common/error.h"

/* Appends a whole file, or stdin for "-", within b's ceiling. INVALID names the file. */
GDFO_MUST_USE enum gdfo_status gdfo_input_read(const char *path, struct gdfo_buf *b,
                                               struct gdfo_error *err);

#endif
