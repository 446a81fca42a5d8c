#include "server/tune/method/method.h"

#include <string.h>

#define METHOD(name) extern const struct gdfo_method_ops gdfo_method_##name##_ops;
#include "server/tune/method/method.def"
#undef METHOD

#define METHOD(name) &gdfo_method_##name##_ops,
static const struct gdfo_method_ops *const table[] = {
#include "server/tune/method/method.def"
};
#undef METHOD

const struct gdfo_method_ops *gdfo_method_at(size_t index)
{
    return index < sizeof table / sizeof table[0] ? table[index] : NULL;
}

const struct gdfo_method_ops *gdfo_method_find(const char *name)
{
    const struct gdfo_method_ops *ops;
    for (size_t i = 0; (ops = gdfo_method_at(i)) != NULL; i++) {
        if (strcmp(ops->name, name) == 0) {
            return ops;
        }
    }
    return NULL;
}
