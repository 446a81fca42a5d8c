#ifndef GDFO_CLIENT_CLI_UPLOAD_H
#define GDFO_CLIENT_CLI_UPLOAD_H

#include "client/cli/cli.h"

#define GDFO_UPLOAD_ID_BYTES 64

/* The id of a file with the content of path: one the daemon has already (same SHA-256), else a new
 * upload. 0, or the exit code of a failure, which is told. */
int gdfo_upload_once(struct gdfo_cli *cli, const char *path, char id[GDFO_UPLOAD_ID_BYTES]);

/* SHA-256 of a file, in hex, read in pieces. */
GDFO_MUST_USE enum gdfo_status gdfo_upload_sha256(const char *path, char hex[65],
                                                  struct gdfo_error *err);

#endif
