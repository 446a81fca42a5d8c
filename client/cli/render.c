#include "client/cli/render.h"

#include "common/clk.h"
#include "common/parse.h"

#include <math.h>
#include <string.h>

#define COLUMNS_MAX 16
#define PATH_BYTES  512

const struct gdfo_json *gdfo_cli_at(const struct gdfo_json *v, const char *path)
{
    char key[64];
    while (v && *path) {
        size_t n = strcspn(path, ".");
        if (n >= sizeof key || gdfo_json_type(v) != GDFO_JSON_OBJECT) {
            return NULL;
        }
        memcpy(key, path, n);
        key[n] = '\0';
        v = gdfo_json_get(v, key);
        path += n;
        path += *path == '.';
    }
    return v;
}

const char *gdfo_cli_text_at(const struct gdfo_json *v, const char *path)
{
    const struct gdfo_json *at = gdfo_cli_at(v, path);
    return at ? gdfo_json_string(at) : NULL;
}

double gdfo_cli_number_at(const struct gdfo_json *v, const char *path)
{
    const struct gdfo_json *at = gdfo_cli_at(v, path);
    double number;
    return at && gdfo_json_number(at, &number) ? number : (double)NAN;
}

/* ---- cells ---- */

void gdfo_cli_clean(char *text)
{
    size_t n = strlen(text);
    char *p = text;
    while (n > 0) {
        uint32_t point = 0;
        size_t k = gdfo_utf8_next(p, n, &point);
        /* C0, DEL, C1 move the cursor; the bidirectional marks reorder what a person reads. */
        if (k == 0 || point < 0x20 || (point >= 0x7f && point < 0xa0) ||
            (point >= 0x200e && point <= 0x200f) || (point >= 0x202a && point <= 0x202e) ||
            (point >= 0x2066 && point <= 0x2069)) {
            k = k ? k : 1;
            memset(p, '?', k);
        }
        p += k;
        n -= k;
    }
}

void gdfo_cli_seconds(double seconds, char *out)
{
    if (!(seconds >= 0.0) || seconds > 1e9) {
        (void)snprintf(out, GDFO_CLI_CELL_BYTES, "-");
        return;
    }
    long s = (long)(seconds + 0.5);
    if (s < 60) {
        (void)snprintf(out, GDFO_CLI_CELL_BYTES, "%lds", s);
    } else if (s < 3600) {
        (void)snprintf(out, GDFO_CLI_CELL_BYTES, "%ldm%02lds", s / 60, s % 60);
    } else if (s < 172800) {
        (void)snprintf(out, GDFO_CLI_CELL_BYTES, "%ldh%02ldm", s / 3600, s / 60 % 60);
    } else {
        (void)snprintf(out, GDFO_CLI_CELL_BYTES, "%ldd", s / 86400);
    }
}

static void bytes_text(double n, char *out)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    size_t u = 0;
    while (n >= 1024.0 && u < 4) {
        n /= 1024.0;
        u++;
    }
    (void)snprintf(out, GDFO_CLI_CELL_BYTES, u ? "%.1f %s" : "%.0f %s", n, units[u]);
}

static void number_text(double v, enum gdfo_cli_format format, char *out)
{
    switch (format) {
    case GDFO_CLI_AGE:
        gdfo_cli_seconds((double)gdfo_clk_wall_ms(gdfo_clk_system()) / 1000.0 - v, out);
        if (*out != '-') {
            size_t n = strlen(out);
            (void)snprintf(out + n, GDFO_CLI_CELL_BYTES - n, " ago");
        }
        break;
    case GDFO_CLI_SECONDS: gdfo_cli_seconds(v, out); break;
    case GDFO_CLI_BYTES: bytes_text(v, out); break;
    case GDFO_CLI_NUMBER: (void)snprintf(out, GDFO_CLI_CELL_BYTES, "%.4g", v); break;
    case GDFO_CLI_TEXT:
    case GDFO_CLI_COUNT: (void)snprintf(out, GDFO_CLI_CELL_BYTES, "%.15g", v); break;
    }
}

/* The strings of a list, as many as fit. */
static void list_text(const struct gdfo_json *list, char *out)
{
    size_t n = 0;
    for (const struct gdfo_json *v = gdfo_json_first(list); v; v = gdfo_json_next(v)) {
        const char *text = gdfo_json_string(v);
        if (text && n + strlen(text) + 2 < GDFO_CLI_CELL_BYTES) {
            n += (size_t)snprintf(out + n, GDFO_CLI_CELL_BYTES - n, "%s%s", n ? " " : "", text);
        }
    }
    gdfo_cli_clean(out);
}

void gdfo_cli_cell(const struct gdfo_json *v, enum gdfo_cli_format format, char *out)
{
    double number;
    int flag;
    (void)snprintf(out, GDFO_CLI_CELL_BYTES, "-");
    if (!v) {
        return;
    }
    if (gdfo_json_string(v)) {
        (void)snprintf(out, GDFO_CLI_CELL_BYTES, "%s", gdfo_json_string(v));
        gdfo_cli_clean(out); /* also what the cut left of a character */
    } else if (gdfo_json_number(v, &number)) {
        number_text(number, format, out);
    } else if (gdfo_json_bool(v, &flag)) {
        (void)snprintf(out, GDFO_CLI_CELL_BYTES, "%s", flag ? "yes" : "no");
    } else if (gdfo_json_type(v) == GDFO_JSON_ARRAY) {
        list_text(v, out);
    } else if (gdfo_json_type(v) == GDFO_JSON_OBJECT) {
        (void)snprintf(out, GDFO_CLI_CELL_BYTES, "%zu entries", gdfo_json_size(v));
    }
}

/* Columns a text takes: code points, which is right for what our tables hold. */
static int columns_of(const char *text)
{
    int n = 0;
    for (; *text; text++) {
        n += ((unsigned char)*text & 0xc0) != 0x80;
    }
    return n;
}

/* ---- tables ---- */

static void widen(int *widths, const struct gdfo_json *row, const struct gdfo_cli_column *columns)
{
    char cell[GDFO_CLI_CELL_BYTES];
    for (size_t i = 0; columns[i].title && i < COLUMNS_MAX; i++) {
        int n;
        gdfo_cli_cell(gdfo_cli_at(row, columns[i].path), columns[i].format, cell);
        n = columns_of(cell);
        widths[i] = n > widths[i] ? n : widths[i];
    }
}

static void put_cell(struct gdfo_cli *cli, const char *text, int width, int is_last)
{
    (void)fputs(text, cli->out);
    if (is_last) {
        (void)fputc('\n', cli->out);
    } else if (!cli->is_tty_out) {
        (void)fputc('\t', cli->out);
    } else {
        (void)fprintf(cli->out, "%*s", width - columns_of(text) + 2, "");
    }
}

static void put_row(struct gdfo_cli *cli, const struct gdfo_json *row,
                    const struct gdfo_cli_column *columns, const int *widths)
{
    char cell[GDFO_CLI_CELL_BYTES];
    for (size_t i = 0; columns[i].title && i < COLUMNS_MAX; i++) {
        if (row) {
            gdfo_cli_cell(gdfo_cli_at(row, columns[i].path), columns[i].format, cell);
        } else {
            (void)snprintf(cell, sizeof cell, "%s", columns[i].title);
        }
        put_cell(cli, cell, widths[i], !columns[i + 1].title);
    }
}

void gdfo_cli_table(struct gdfo_cli *cli, const struct gdfo_json *list,
                    const struct gdfo_cli_column *columns, const char *empty)
{
    const struct gdfo_json *rows = gdfo_cli_at(list, "data");
    int widths[COLUMNS_MAX] = {0};
    if (!rows || gdfo_json_type(rows) != GDFO_JSON_ARRAY || gdfo_json_size(rows) == 0) {
        (void)fprintf(cli->err, "%s\n", empty);
        return;
    }
    for (size_t i = 0; columns[i].title && i < COLUMNS_MAX; i++) {
        widths[i] = columns_of(columns[i].title);
    }
    for (const struct gdfo_json *row = gdfo_json_first(rows); row; row = gdfo_json_next(row)) {
        widen(widths, row, columns);
    }
    if (cli->is_tty_out) {
        put_row(cli, NULL, columns, widths);
    }
    for (const struct gdfo_json *row = gdfo_json_first(rows); row; row = gdfo_json_next(row)) {
        put_row(cli, row, columns, widths);
    }
}

void gdfo_cli_pairs(struct gdfo_cli *cli, const struct gdfo_json *object,
                    const struct gdfo_cli_column *columns)
{
    char cell[GDFO_CLI_CELL_BYTES];
    for (; columns->title; columns++) {
        const struct gdfo_json *v = gdfo_cli_at(object, columns->path);
        if (v && gdfo_json_type(v) != GDFO_JSON_NULL) {
            gdfo_cli_cell(v, columns->format, cell);
            (void)fprintf(cli->out, "%-14s %s\n", columns->title, cell);
        }
    }
}

/* ---- one request, shown ---- */

int gdfo_cli_show(struct gdfo_cli *cli, enum gdfo_status status, struct gdfo_error *err,
                  const struct gdfo_cli_column *columns)
{
    struct gdfo_json *object = NULL;
    int code = gdfo_cli_check_json(cli, status, &object, err);
    if (code) {
        return code;
    }
    if (cli->is_json) {
        code = gdfo_cli_print_json(cli, object);
    } else {
        gdfo_cli_pairs(cli, object, columns);
    }
    gdfo_json_destroy(object);
    return code;
}

/* Tells on stderr how to see the rest. */
static void tell_more(struct gdfo_cli *cli, const struct gdfo_json *list)
{
    const struct gdfo_json *more = gdfo_cli_at(list, "has_more");
    const char *last = gdfo_cli_text_at(list, "last_id");
    int flag = 0;
    if (more && gdfo_json_bool(more, &flag) && flag && last) {
        (void)fprintf(cli->err, "there are more: --after %s\n", last);
    }
}

int gdfo_cli_list(struct gdfo_cli *cli, const char *path, const struct gdfo_cli_column *columns,
                  const char *empty)
{
    const char *limit = gdfo_cli_args_get(&cli->args, "limit");
    const char *after = gdfo_cli_args_get(&cli->args, "after");
    struct gdfo_error err = {0};
    struct gdfo_json *list = NULL;
    int64_t n = 20;
    int code;
    if (limit && !gdfo_parse_i64(limit, 1, 100, &n)) {
        return gdfo_cli_fail_as(cli, GDFO_EXIT_USAGE, "--limit is \"%.20s\"; want 1..100", limit);
    }
    if (after && !gdfo_client_is_id(after)) {
        return gdfo_cli_fail_as(cli, GDFO_EXIT_USAGE, "--after is \"%.60s\"; want an id", after);
    }
    code = gdfo_cli_check_json(cli,
                               gdfo_client_get(cli->client, &cli->reply, &err, "%s?limit=%lld%s%s",
                                               path, (long long)n, after ? "&after=" : "",
                                               after ? after : ""),
                               &list, &err);
    if (code) {
        return code;
    }
    if (cli->is_json) {
        code = gdfo_cli_print_json(cli, list);
    } else {
        gdfo_cli_table(cli, list, columns, empty);
        tell_more(cli, list);
    }
    gdfo_json_destroy(list);
    return code;
}
