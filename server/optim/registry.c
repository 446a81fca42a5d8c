#include "server/optim/optim_ops.h"

#include <string.h>

#define OPTIM(name) extern const struct gdfo_optim_ops gdfo_optim_##name##_ops;
#include "server/optim/optim.def"
#undef OPTIM
#define OPTIM(name) &gdfo_optim_##name##_ops,
static const struct gdfo_optim_ops *const table[] = {
#include "server/optim/optim.def"
};
#undef OPTIM

size_t gdfo_optim_count(void)
{
    return sizeof table / sizeof table[0];
}

const struct gdfo_optim_ops *gdfo_optim_at(size_t i)
{
    return table[i];
}

const struct gdfo_optim_ops *gdfo_optim_find(const char *name)
{
    for (size_t i = 0; i < gdfo_optim_count(); i++) {
        if (strcmp(table[i]->name, name) == 0) {
            return table[i];
        }
    }
    return NULL;
}
