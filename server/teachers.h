#ifndef GDFO_SERVER_TEACHERS_H
#define GDFO_SERVER_TEACHERS_H

#include "server/config.h"
#include "server/job/job_remotes.h"

/*
 * The [teacher NAME] sections of adapters over HTTP, as the job layer wants them. *out NULL when
 * there are none: then no thread for the way out is started either. Main thread, at start; config
 * is borrowed until gdfo_remotes_destroy.
 */
GDFO_MUST_USE enum gdfo_status gdfo_teachers_create(struct gdfo_remotes **out,
                                                    const struct gdfo_config *config,
                                                    const struct gdfo_models *models,
                                                    struct gdfo_error *err);

#endif
