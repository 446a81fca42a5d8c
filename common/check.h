#ifndef GDFO_COMMON_CHECK_H
#define GDFO_COMMON_CHECK_H

/* An invariant whose breach would corrupt data: kept in release, logs one line and aborts. */
#define GDFO_CHECK(cond) ((cond) ? (void)0 : gdfo_check_fail(#cond, __FILE__, __LINE__))

_Noreturn void gdfo_check_fail(const char *cond, const char *file, int line);

#endif
