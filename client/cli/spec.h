#ifndef GDFO_CLIENT_CLI_SPEC_H
#define GDFO_CLIENT_CLI_SPEC_H

#include "common/buf.h"
#include "common/error.h"
#include "common/json.h"

/*
 * A SPEC is the create body as people write it: JSON with // and block comments, and members set
 * from the command line by dotted path. What the members mean is the daemon's to say.
 */
#define GDFO_SPEC_MAX_BYTES ((size_t)1 << 20)

struct gdfo_spec_set {
    const char *path;  /* "method.gdfo.budget.evals", borrowed */
    const char *value; /* JSON text, or else a string; borrowed */
    int is_text;       /* 1: a string whatever it looks like */
};

/* Turns comments into blanks, in place, so that byte offsets stay true. FORMAT names the line of a
 * comment that never ends. */
GDFO_MUST_USE enum gdfo_status gdfo_spec_strip(char *text, size_t n, struct gdfo_error *err);

/* Strips and parses; errors name `name` and the line. *out: ended by gdfo_json_destroy(). */
GDFO_MUST_USE enum gdfo_status gdfo_spec_parse(struct gdfo_json **out, char *text, size_t n,
                                               const char *name, struct gdfo_error *err);

/* Splits "k.l=v" in place. INVALID unless there is a path and a '='. */
GDFO_MUST_USE enum gdfo_status gdfo_spec_set_parse(struct gdfo_spec_set *out, char *text,
                                                   struct gdfo_error *err);

/* Appends root with the sets applied, the last one of a path winning. Objects on the way are made.
 * INVALID when a path leads through a value that is no object. */
GDFO_MUST_USE enum gdfo_status gdfo_spec_write(struct gdfo_buf *out, const struct gdfo_json *root,
                                               const struct gdfo_spec_set *sets, size_t n_sets,
                                               struct gdfo_error *err);

/* The text the member `key` of root ends up with: from the last set of that path, else from root.
 * NULL when it is no string. */
const char *gdfo_spec_member(const struct gdfo_json *root, const struct gdfo_spec_set *sets,
                             size_t n_sets, const char *key);

#endif
