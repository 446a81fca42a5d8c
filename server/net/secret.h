#ifndef GDFO_SERVER_NET_SECRET_H
#define GDFO_SERVER_NET_SECRET_H

#include "common/error.h"

/*
 * A text in memory of its own that is locked against swapping, left out of core files and wiped at
 * its end. Has no printer, on purpose.
 */
struct gdfo_secret;

#define GDFO_SECRET_MAX 4096

/* Holds prefix and text as one. INVALID when text is empty, too long or not printable ASCII; IO
 * when memory cannot be locked. The error never holds the text. */
GDFO_MUST_USE enum gdfo_status gdfo_secret_create(struct gdfo_secret **out, const char *prefix,
                                                  const char *text, struct gdfo_error *err);
void gdfo_secret_destroy(struct gdfo_secret *s); /* NULL is fine */

char *gdfo_secret_whole(struct gdfo_secret *s); /* prefix and text; borrowed, not to be written */
int gdfo_secret_is_in(const struct gdfo_secret *s, const char *text); /* s may be NULL */

#endif
