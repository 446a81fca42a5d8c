#ifndef GDFO_SERVER_LIFECYCLE_H
#define GDFO_SERVER_LIFECYCLE_H

#include "common/error.h"

/*
 * The daemon's parts, started in order and stopped in the order that lets jobs and answers end
 * whole (service.md 7.1, D10). Main thread only.
 */
enum gdfo_exit { /* of gdfod (service.md 9) */
                 GDFO_EXIT_STOPPED = 0,
                 GDFO_EXIT_RUNNING = 1, /* failed while running */
                 GDFO_EXIT_USAGE = 2,
                 GDFO_EXIT_DATA = 3,
                 GDFO_EXIT_ADDRESS = 4
};

struct gdfo_config;
struct gdfo_lifecycle;

/* *out: owned by caller, ended by gdfo_lifecycle_stop(). config is borrowed until then. On failure
 * everything that was started has been stopped, and err says which part failed and why. */
GDFO_MUST_USE enum gdfo_exit gdfo_lifecycle_start(struct gdfo_lifecycle **out,
                                                  const struct gdfo_config *config,
                                                  struct gdfo_error *err);
const char *gdfo_lifecycle_url(const struct gdfo_lifecycle *l); /* http://127.0.0.1:8787 */
/* 1 when everything has ended. 0 when stop.seconds were over first: threads still use what l owns,
 * nothing was freed, and the caller leaves the process at once; all is durable. */
GDFO_MUST_USE int gdfo_lifecycle_stop(struct gdfo_lifecycle *l);

#endif
