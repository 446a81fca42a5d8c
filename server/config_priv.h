#ifndef GDFO_SERVER_CONFIG_PRIV_H
#define GDFO_SERVER_CONFIG_PRIV_H

#include "server/config.h"

/* Sets one key unless a source of higher rank has set it; faults say where. */
void gdfo_config_set(struct gdfo_config *c, enum gdfo_config_source source, const char *key,
                     const char *value, const char *where, struct gdfo_config_faults *faults);

#endif
