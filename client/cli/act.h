#ifndef GDFO_CLIENT_CLI_ACT_H
#define GDFO_CLIENT_CLI_ACT_H

#include "client/cli/cli.h"

/* Does `action` (pause, resume, cancel) to every job named on the command line, and prints each
 * one's status; with --json one document, or a line each for several. Stops at the first failure.
 */
int gdfo_act_all(struct gdfo_cli *cli, const char *action);

#endif
