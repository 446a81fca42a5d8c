#ifndef GDFO_SERVER_CONFIG_SHOW_H
#define GDFO_SERVER_CONFIG_SHOW_H

#include "server/config.h"

/* What --help, --help-config and --print-config write; appended to out. */
void gdfo_config_show_usage(struct gdfo_buf *out);
void gdfo_config_show_help(struct gdfo_buf *out);
/* A file that would give these values, each with where it came from. */
void gdfo_config_show_values(const struct gdfo_config *c, struct gdfo_buf *out);

#endif
