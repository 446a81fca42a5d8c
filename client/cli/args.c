#include "client/cli/args.h"

#include "common/check.h"
#include "common/parse.h"

#include <string.h>

static size_t count(const struct gdfo_cli_option *options)
{
    size_t n = 0;
    while (options[n].name) {
        n++;
    }
    GDFO_CHECK(n <= GDFO_CLI_OPTIONS_MAX);
    return n;
}

static int find_long(const struct gdfo_cli_option *options, const char *name, size_t len)
{
    for (int i = 0; options[i].name; i++) {
        if (strlen(options[i].name) == len && memcmp(options[i].name, name, len) == 0) {
            return i;
        }
    }
    return -1;
}

static int find_letter(const struct gdfo_cli_option *options, char letter)
{
    for (int i = 0; options[i].name; i++) {
        if (options[i].letter == letter) {
            return i;
        }
    }
    return -1;
}

static enum gdfo_status unknown(const struct gdfo_cli_option *options, const char *word,
                                struct gdfo_error *err)
{
    struct gdfo_buf list;
    gdfo_buf_init(&list, GDFO_ERROR_TEXT_MAX);
    for (int i = 0; options[i].name; i++) {
        gdfo_buf_addf(&list, "%s--%s", i ? " " : "", options[i].name);
    }
    (void)gdfo_error_set(err, GDFO_STATUS_INVALID, "unknown option \"%.60s\"; there are: %s", word,
                         gdfo_buf_ok(&list) && list.data ? list.data : "none");
    gdfo_buf_deinit(&list);
    return GDFO_STATUS_INVALID;
}

static enum gdfo_status store(struct gdfo_cli_args *out, int row, const char *value,
                              struct gdfo_error *err)
{
    const struct gdfo_cli_option *o = &out->options[row];
    if (o->kind == GDFO_CLI_REPEATED) {
        if (out->n_repeated == GDFO_CLI_SETS_MAX) {
            return gdfo_error_set(err, GDFO_STATUS_INVALID, "--%s stands more than %d times",
                                  o->name, GDFO_CLI_SETS_MAX);
        }
        out->repeated[out->n_repeated++] = value;
    } else if (out->values[row] && o->kind != GDFO_CLI_FLAG) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "--%s stands twice; want it once", o->name);
    }
    out->values[row] = value;
    return GDFO_STATUS_OK;
}

/* The option at argv[i], which begins with a dash; *used: how many words it took. */
static enum gdfo_status take_option(struct gdfo_cli_args *out, int argc, char **argv, int i,
                                    int *used, struct gdfo_error *err)
{
    const char *word = argv[i];
    const char *value = NULL;
    int row;
    *used = 1;
    if (word[1] == '-') {
        const char *equals = strchr(word, '=');
        row = find_long(out->options, word + 2,
                        equals ? (size_t)(equals - word) - 2 : strlen(word + 2));
        value = equals ? equals + 1 : NULL;
    } else {
        row = find_letter(out->options, word[1]);
        value = word[2] ? word + 2 : NULL;
    }
    if (row < 0) {
        return unknown(out->options, word, err);
    }
    if (out->options[row].kind == GDFO_CLI_FLAG) {
        return value ? gdfo_error_set(err, GDFO_STATUS_INVALID, "--%s takes no value",
                                      out->options[row].name)
                     : store(out, row, "", err);
    }
    if (!value && out->options[row].kind == GDFO_CLI_MAYBE) {
        return store(out, row, "", err);
    }
    if (!value && i + 1 < argc) {
        value = argv[i + 1];
        *used = 2;
    }
    if (!value) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "--%s wants a value: --%s %s",
                              out->options[row].name, out->options[row].name,
                              out->options[row].word);
    }
    return store(out, row, value, err);
}

enum gdfo_status gdfo_cli_args_parse(struct gdfo_cli_args *out,
                                     const struct gdfo_cli_option *options, int argc, char **argv,
                                     struct gdfo_error *err)
{
    int is_rest = 0;
    *out = (struct gdfo_cli_args){.options = options};
    (void)count(options);
    for (int i = 0, used = 1; i < argc; i += used) {
        enum gdfo_status status = GDFO_STATUS_OK;
        used = 1;
        if (!is_rest && strcmp(argv[i], "--") == 0) {
            is_rest = 1;
        } else if (!is_rest && argv[i][0] == '-' && argv[i][1] != '\0') {
            status = take_option(out, argc, argv, i, &used, err);
        } else if (out->n_words == GDFO_CLI_ARGS_MAX) {
            status = gdfo_error_set(err, GDFO_STATUS_INVALID, "more than %d arguments",
                                    GDFO_CLI_ARGS_MAX);
        } else {
            out->words[out->n_words++] = argv[i];
        }
        if (status != GDFO_STATUS_OK) {
            return status;
        }
    }
    return GDFO_STATUS_OK;
}

const char *gdfo_cli_args_get(const struct gdfo_cli_args *a, const char *name)
{
    int row = find_long(a->options, name, strlen(name));
    GDFO_CHECK(row >= 0);
    return a->values[row];
}

void gdfo_cli_args_help(const struct gdfo_cli_option *options, struct gdfo_buf *out)
{
    for (const struct gdfo_cli_option *o = options; o->name; o++) {
        size_t start = out->len;
        gdfo_buf_add(out, "  ");
        if (o->letter) {
            gdfo_buf_addf(out, "-%c, ", o->letter);
        }
        gdfo_buf_addf(out, "--%s", o->name);
        if (o->word) {
            gdfo_buf_addf(out, o->kind == GDFO_CLI_MAYBE ? "[=%s]" : " %s", o->word);
        }
        do {
            gdfo_buf_addc(out, ' ');
        } while (gdfo_buf_ok(out) && out->len - start < 26);
        gdfo_buf_addf(out, "%s\n", o->help);
    }
}

int gdfo_cli_duration_ms(const char *text, int64_t *out)
{
    static const struct {
        const char *unit;
        int64_t ms;
    } units[] = {{"", 1000}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"ms", 1}};
    char digits[16];
    size_t n = strspn(text, "0123456789");
    int64_t v;
    if (n == 0 || n >= sizeof digits) {
        return 0;
    }
    memcpy(digits, text, n);
    digits[n] = '\0';
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(text + n, units[i].unit) == 0 &&
            gdfo_parse_i64(digits, 0, INT64_MAX / 3600000, &v)) {
            *out = v * units[i].ms;
            return 1;
        }
    }
    return 0;
}
