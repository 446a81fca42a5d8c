#include "server/teacher/exchange.h"

#include <string.h>

#define REMOTE(name) extern const struct gdfo_remote_ops gdfo_remote_##name##_ops;
#include "server/teacher/remote.def"
#undef REMOTE

#define REMOTE(name) &gdfo_remote_##name##_ops,
static const struct gdfo_remote_ops *const table[] = {
#include "server/teacher/remote.def"
};
#undef REMOTE

const struct gdfo_remote_ops *gdfo_remote_adapter(size_t index)
{
    return index < sizeof table / sizeof table[0] ? table[index] : NULL;
}

const struct gdfo_remote_ops *gdfo_remote_find(const char *name)
{
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (strcmp(table[i]->name, name) == 0) {
            return table[i];
        }
    }
    return NULL;
}
