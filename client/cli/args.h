#ifndef GDFO_CLIENT_CLI_ARGS_H
#define GDFO_CLIENT_CLI_ARGS_H

#include "common/buf.h"
#include "common/error.h"

#include <stddef.h>
#include <stdint.h>

/*
 * Command lines against a table: `--name value`, `--name=value`, `-n value`, and `--` before
 * arguments that begin with a dash. The same table makes the help text, so both cannot differ.
 */
#define GDFO_CLI_OPTIONS_MAX 16
#define GDFO_CLI_ARGS_MAX    256
#define GDFO_CLI_SETS_MAX    64

enum gdfo_cli_option_kind {
    GDFO_CLI_FLAG,    /* value is "" when given */
    GDFO_CLI_VALUE,   /* needs a value */
    GDFO_CLI_MAYBE,   /* a value only after '=': --json, --json=id,status */
    GDFO_CLI_REPEATED /* needs a value, may stand several times: --set k=v */
};

struct gdfo_cli_option {
    const char *name; /* without dashes; a table ends at NULL */
    char letter;      /* 0: none */
    enum gdfo_cli_option_kind kind;
    const char *word; /* "DIR" in the help text; NULL for a flag */
    const char *help;
};

struct gdfo_cli_args {
    const struct gdfo_cli_option *options;    /* the command's table */
    const char *values[GDFO_CLI_OPTIONS_MAX]; /* by row; NULL: not given */
    const char *repeated[GDFO_CLI_SETS_MAX];  /* values of the REPEATED option, in order */
    size_t n_repeated;
    const char *words[GDFO_CLI_ARGS_MAX]; /* what is no option */
    size_t n_words;
};

/* Splits argv by the table (and the options every command has, which come first). INVALID names
 * the word and, for a typo, the options there are. The strings stay argv's. */
GDFO_MUST_USE enum gdfo_status gdfo_cli_args_parse(struct gdfo_cli_args *out,
                                                   const struct gdfo_cli_option *options, int argc,
                                                   char **argv, struct gdfo_error *err);

/* The value of an option, NULL when it was not given. The name must be in the table. */
const char *gdfo_cli_args_get(const struct gdfo_cli_args *a, const char *name);

/* One line an option: "  --name WORD    help". */
void gdfo_cli_args_help(const struct gdfo_cli_option *options, struct gdfo_buf *out);

/* "90", "90s", "5m", "2h", "500ms" to milliseconds; 0 when it is none of these. */
int gdfo_cli_duration_ms(const char *text, int64_t *out);

#endif
