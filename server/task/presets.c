#include "server/task/presets_priv.h"
#include "server/task/spec.h"

#include <string.h>

const char *const *gdfo_task_preset_names(void)
{
    return gdfo_task_preset_list;
}

const char *gdfo_task_preset_text(const char *name)
{
    for (const struct gdfo_task_preset *p = gdfo_task_presets; p->name != NULL; p++) {
        if (strcmp(p->name, name) == 0) {
            return p->text;
        }
    }
    return NULL;
}
