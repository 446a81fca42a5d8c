#ifndef GDFO_SERVER_TASK_PRESETS_PRIV_H
#define GDFO_SERVER_TASK_PRESETS_PRIV_H

#include <stddef.h>

/* The table that CMake writes from presets/NAME.json; ends with a NULL name. */
struct gdfo_task_preset {
    const char *name;
    const char *text;
};
extern const struct gdfo_task_preset gdfo_task_presets[];
extern const char *const gdfo_task_preset_list[];

#endif
