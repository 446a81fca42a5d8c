#include "common/check.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void gdfo_check_fail(const char *cond, const char *file, int line)
{
    (void)fprintf(stderr, "lvl=error mod=check ev=invariant_broken cond=\"%s\" at=%s:%d\n", cond,
                  file, line);
    abort();
}
