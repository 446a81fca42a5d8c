#ifndef GDFO_CLIENT_CLI_RENDER_H
#define GDFO_CLIENT_CLI_RENDER_H

#include "client/cli/cli.h"

/*
 * Values and lists for people. Text from the daemon is shown without control characters, whatever
 * it holds. On a terminal lists have a header and aligned columns; else they are tab-separated
 * lines without one, for cut and awk.
 */
enum gdfo_cli_format {
    GDFO_CLI_TEXT,
    GDFO_CLI_COUNT,  /* 12,345 as 12345; null as - */
    GDFO_CLI_NUMBER, /* up to 4 significant digits behind the point */
    GDFO_CLI_BYTES,
    GDFO_CLI_AGE,    /* unix seconds, shown as "3m ago" */
    GDFO_CLI_SECONDS /* a duration */
};

struct gdfo_cli_column {
    const char *title, *path; /* path: "progress.step"; a table ends at title NULL */
    enum gdfo_cli_format format;
};

#define GDFO_CLI_CELL_BYTES 128

/* The member at a dotted path, NULL when any part is missing. */
const struct gdfo_json *gdfo_cli_at(const struct gdfo_json *v, const char *path);
const char *gdfo_cli_text_at(const struct gdfo_json *v, const char *path); /* NULL: no string */
double gdfo_cli_number_at(const struct gdfo_json *v, const char *path);    /* NAN: no number */

/* One value as text of at most GDFO_CLI_CELL_BYTES - 1 bytes; "-" for null and what is missing. */
void gdfo_cli_cell(const struct gdfo_json *v, enum gdfo_cli_format format, char *out);

void gdfo_cli_seconds(double seconds, char *out); /* "2h05m", "1m40s", "12s"; "-" unless >= 0 */
void gdfo_cli_clean(char *text); /* control characters and broken UTF-8 become '?' */

/* The elements of list.data as a table; without any, `empty` on stderr. */
void gdfo_cli_table(struct gdfo_cli *cli, const struct gdfo_json *list,
                    const struct gdfo_cli_column *columns, const char *empty);

/* One object as "title  value" lines; members that are missing or null are left out. */
void gdfo_cli_pairs(struct gdfo_cli *cli, const struct gdfo_json *object,
                    const struct gdfo_cli_column *columns);

/* Fetches one list page and prints it. extra: a filter like "&purpose=fine-tune", or "". Options
 * --limit and --after must be in the command's table. */
int gdfo_cli_list(struct gdfo_cli *cli, const char *path, const struct gdfo_cli_column *columns,
                  const char *empty);

#define GDFO_CLI_LIST_OPTIONS                                                                      \
    GDFO_CLI_JSON_OPTION, {"limit", 'n', GDFO_CLI_VALUE, "N", "how many, 1 to 100"},               \
    {                                                                                              \
        "after", 0, GDFO_CLI_VALUE, "ID", "continue behind this one"                               \
    }

/* GETs one object and prints it as pairs, or as JSON. */
int gdfo_cli_show(struct gdfo_cli *cli, enum gdfo_status status, struct gdfo_error *err,
                  const struct gdfo_cli_column *columns);

#endif
