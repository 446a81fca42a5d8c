#include "server/task/kind.h"

#include <string.h>

#define TASK(name) extern const struct gdfo_task_ops gdfo_task_##name##_ops;
#include "server/task/task.def"
#undef TASK

#define TASK(name) &gdfo_task_##name##_ops,
static const struct gdfo_task_ops *const kinds[] = {
#include "server/task/task.def"
};
#undef TASK

size_t gdfo_task_n_kinds(void)
{
    return sizeof kinds / sizeof kinds[0];
}

const struct gdfo_task_ops *gdfo_task_kind(size_t i)
{
    return kinds[i];
}

const struct gdfo_task_ops *gdfo_task_find_kind(const char *name)
{
    for (size_t i = 0; i < gdfo_task_n_kinds(); i++) {
        if (strcmp(kinds[i]->name, name) == 0) {
            return kinds[i];
        }
    }
    return NULL;
}
