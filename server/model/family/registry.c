#include "server/model/family/family.h"

#include <string.h>

#define FAMILY(name) extern const struct gdfo_family_ops gdfo_family_##name##_ops;
#include "server/model/family/family.def"
#undef FAMILY

#define FAMILY(name) &gdfo_family_##name##_ops,
static const struct gdfo_family_ops *const table[] = {
#include "server/model/family/family.def"
};
#undef FAMILY
#define N_FAMILIES (sizeof table / sizeof table[0])

const struct gdfo_family_ops *gdfo_family_at(size_t i)
{
    return i < N_FAMILIES ? table[i] : NULL;
}

const struct gdfo_family_ops *gdfo_family_find(const char *architecture)
{
    for (size_t i = 0; i < N_FAMILIES; i++) {
        if (strcmp(table[i]->name, architecture) == 0) {
            return table[i];
        }
    }
    return NULL;
}
