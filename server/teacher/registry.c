#include "server/teacher/teacher.h"

#define TEACHER(name) extern const struct gdfo_teacher_ops gdfo_teacher_##name##_ops;
#include "server/teacher/teacher.def"
#undef TEACHER

#define TEACHER(name) &gdfo_teacher_##name##_ops,
static const struct gdfo_teacher_ops *const table[] = {
#include "server/teacher/teacher.def"
};
#undef TEACHER

const struct gdfo_teacher_ops *gdfo_teacher_adapter(size_t index)
{
    return index < sizeof table / sizeof table[0] ? table[index] : NULL;
}
