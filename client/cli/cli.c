#include "client/cli/cli.h"

#include "common/json_write.h"
#include "common/mem.h"

#include <stdarg.h>
#include <string.h>

#define HELP_MAX_BYTES ((size_t)64 << 10)

static const struct gdfo_cli_option global_options[] = {
    {"url", 0, GDFO_CLI_VALUE, "URL", "where the daemon listens (else GDFO_URL)"},
    {"help", 'h', GDFO_CLI_FLAG, NULL, "this text"},
};
#define N_GLOBAL  (sizeof global_options / sizeof global_options[0])

#define CMD(name) extern const struct gdfo_cli_command gdfo_cmd_##name;
#include "client/cli/commands.def"
#undef CMD

const struct gdfo_cli_command *const *gdfo_cli_commands(void)
{
#define CMD(name) &gdfo_cmd_##name,
    static const struct gdfo_cli_command *const table[] = {
#include "client/cli/commands.def"
        NULL};
#undef CMD
    return table;
}

/* ---- dispatch ---- */

/* How many leading words of argv are the command's words; 0 when it is another command. */
static int match(const char *words, int argc, char **argv)
{
    int n = 0;
    while (*words) {
        size_t len = strcspn(words, " ");
        if (n >= argc || strlen(argv[n]) != len || memcmp(argv[n], words, len) != 0) {
            return 0;
        }
        n++;
        words += len;
        words += *words == ' ';
    }
    return n;
}

static const struct gdfo_cli_command *find(int argc, char **argv, int *n_words)
{
    const struct gdfo_cli_command *const *all = gdfo_cli_commands();
    for (size_t i = 0; all[i]; i++) {
        *n_words = match(all[i]->words, argc, argv);
        if (*n_words == 0 && all[i]->short_form) {
            *n_words = match(all[i]->short_form, argc, argv);
        }
        if (*n_words > 0) {
            return all[i];
        }
    }
    return NULL;
}

/* "job" alone, or "job frobnicate": names the verbs there are. */
static int unknown_command(struct gdfo_cli *cli, int argc, char **argv)
{
    const struct gdfo_cli_command *const *all = gdfo_cli_commands();
    struct gdfo_buf list;
    size_t len = strlen(argv[0]);
    int code;
    gdfo_buf_init(&list, 400);
    for (size_t i = 0; all[i]; i++) {
        if (strncmp(all[i]->words, argv[0], len) == 0 && all[i]->words[len] == ' ') {
            gdfo_buf_addf(&list, "%s%s", list.len ? ", " : "", all[i]->words + len + 1);
        }
    }
    if (gdfo_buf_ok(&list) && list.len) {
        code = gdfo_cli_fail_as(cli, GDFO_EXIT_USAGE, "gdfo %s %.40s: want one of %s", argv[0],
                                argc > 1 ? argv[1] : "...", list.data);
    } else {
        code = gdfo_cli_fail_as(cli, GDFO_EXIT_USAGE, "there is no command \"%.40s\"", argv[0]);
    }
    gdfo_buf_deinit(&list);
    return code;
}

static int print_help(struct gdfo_cli *cli, const struct gdfo_cli_option *options)
{
    const struct gdfo_cli_command *c = cli->command;
    struct gdfo_buf b;
    gdfo_buf_init(&b, HELP_MAX_BYTES);
    gdfo_buf_addf(&b, "usage: gdfo %s%s%s\n\n%s\n", c->words, *c->usage ? " " : "", c->usage,
                  c->help);
    if (c->short_form) {
        gdfo_buf_addf(&b, "Short form: gdfo %s\n", c->short_form);
    }
    if (c->about) {
        gdfo_buf_addf(&b, "\n%s\n", c->about);
    }
    gdfo_buf_add(&b, "\noptions\n");
    gdfo_cli_args_help(options, &b);
    (void)fputs(gdfo_buf_ok(&b) ? b.data : "", cli->out);
    gdfo_buf_deinit(&b);
    return GDFO_EXIT_DONE;
}

static int check_words(struct gdfo_cli *cli)
{
    const struct gdfo_cli_command *c = cli->command;
    if (cli->args.n_words >= c->min_words && cli->args.n_words <= c->max_words) {
        return 0;
    }
    return gdfo_cli_fail_as(cli, GDFO_EXIT_USAGE, "usage: gdfo %s %s", c->words, c->usage);
}

static int run(struct gdfo_cli *cli)
{
    struct gdfo_error err = {0};
    int code = check_words(cli);
    if (code) {
        return code;
    }
    cli->url = cli->url && *cli->url ? cli->url : GDFO_CLIENT_URL;
    if (!cli->command->is_local) {
        const struct gdfo_client_config config = {
            .url = cli->url, .token = cli->token, .cancel = cli->cancel};
        if (gdfo_client_open(&cli->client, &config, &err) != GDFO_STATUS_OK) {
            return gdfo_cli_fail_as(cli, GDFO_EXIT_USAGE, "%s", err.text);
        }
    }
    code = cli->command->run(cli);
    gdfo_reply_deinit(&cli->reply);
    gdfo_client_close(cli->client);
    cli->client = NULL;
    return code;
}

int gdfo_cli_dispatch(struct gdfo_cli *cli, int argc, char **argv)
{
    static char status_word[] = "status", help_word[] = "help";
    char *words[] = {status_word};
    struct gdfo_cli_option options[GDFO_CLI_OPTIONS_MAX + 1] = {{0}};
    struct gdfo_error err = {0};
    enum gdfo_status status;
    size_t n = 0;
    int used = 0;
    if (argc == 0) { /* no word at all: the most useful command */
        argv = words;
        argc = 1;
    } else if (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0) {
        words[0] = help_word;
        argv = words;
        argc = 1;
    }
    cli->command = find(argc, argv, &used);
    if (!cli->command) {
        return unknown_command(cli, argc, argv);
    }
    for (; cli->command->options[n].name; n++) {
        options[n] = cli->command->options[n];
    }
    memcpy(options + n, global_options, sizeof global_options);
    status = gdfo_cli_args_parse(&cli->args, options, argc - used, argv + used, &err);
    cli->fields = gdfo_cli_args_get(&cli->args, "json");
    cli->is_json = cli->fields != NULL;
    cli->fields = cli->fields && *cli->fields ? cli->fields : NULL;
    if (status != GDFO_STATUS_OK) {
        return gdfo_cli_fail_as(cli, GDFO_EXIT_USAGE, "%s", err.text);
    }
    if (gdfo_cli_args_get(&cli->args, "help")) {
        return print_help(cli, options);
    }
    if (gdfo_cli_args_get(&cli->args, "url")) {
        cli->url = gdfo_cli_args_get(&cli->args, "url");
    }
    return run(cli);
}

/* ---- failures ---- */

static void tell_json(struct gdfo_cli *cli, const struct gdfo_error *err, int code,
                      const char *next)
{
    struct gdfo_buf b;
    struct gdfo_json_writer w;
    gdfo_buf_init(&b, HELP_MAX_BYTES);
    w = gdfo_json_writer(&b);
    gdfo_json_open(&w, NULL, '{');
    gdfo_json_open(&w, "error", '{');
    gdfo_json_put_str(&w, "message", err->text);
    gdfo_json_put_str(&w, "code", err->code[0] ? err->code : gdfo_exit_name(code));
    gdfo_json_put_str(&w, "param", err->field[0] ? err->field : NULL);
    gdfo_json_put_str(&w, "request_id", cli->reply.request_id[0] ? cli->reply.request_id : NULL);
    gdfo_json_put_int(&w, "http", cli->reply.http);
    gdfo_json_put_int(&w, "exit", code);
    gdfo_json_put_str(&w, "next", next);
    gdfo_json_close(&w, '}');
    gdfo_json_close(&w, '}');
    if (gdfo_buf_ok(&b)) {
        (void)fprintf(cli->out, "%s\n", b.data);
    }
    gdfo_buf_deinit(&b);
}

static int tell(struct gdfo_cli *cli, const struct gdfo_error *err, int code)
{
    const char *next = gdfo_exit_next_step(err->code, code);
    (void)fflush(cli->out);
    (void)fprintf(cli->err, "gdfo: %s\n", err->text);
    if (err->field[0] && !strstr(err->text, err->field)) {
        (void)fprintf(cli->err, "  where: %s\n", err->field);
    }
    (void)fprintf(cli->err, "  next: %s\n", next);
    if (cli->reply.request_id[0]) {
        (void)fprintf(cli->err, "  request: %s\n", cli->reply.request_id);
    }
    if (cli->is_json) {
        tell_json(cli, err, code, next);
    }
    return code;
}

static int exit_of(const struct gdfo_cli *cli, const struct gdfo_error *err)
{
    if (err->status == GDFO_STATUS_CANCELLED) {
        return GDFO_EXIT_INTERRUPTED;
    }
    if (strcmp(err->code, "unreachable") == 0) {
        return GDFO_EXIT_UNREACHABLE;
    }
    if (cli->reply.http >= 300) {
        return gdfo_exit_of_http(cli->reply.http, err->code);
    }
    return err->status == GDFO_STATUS_INVALID ? GDFO_EXIT_USAGE : GDFO_EXIT_FAILED;
}

int gdfo_cli_fail(struct gdfo_cli *cli, const struct gdfo_error *err)
{
    return tell(cli, err, exit_of(cli, err));
}

int gdfo_cli_fail_as(struct gdfo_cli *cli, int code, const char *fmt, ...)
{
    struct gdfo_error err = {0};
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(err.text, sizeof err.text, fmt, args);
    va_end(args);
    return tell(cli, &err, code);
}

/* The other faults of a refused request: the daemon reports all of them at once. */
static void tell_more(struct gdfo_cli *cli)
{
    struct gdfo_json *root = NULL;
    const struct gdfo_json *list = NULL;
    if (gdfo_reply_json(&cli->reply, &root, NULL) == GDFO_STATUS_OK &&
        gdfo_json_type(root) == GDFO_JSON_OBJECT) {
        list = gdfo_json_get(root, "errors");
    }
    if (list && gdfo_json_type(list) == GDFO_JSON_ARRAY && gdfo_json_size(list) > 1) {
        for (const struct gdfo_json *e = gdfo_json_first(list); e; e = gdfo_json_next(e)) {
            const char *at = gdfo_json_string(gdfo_json_get(e, "pointer"));
            const char *detail = gdfo_json_string(gdfo_json_get(e, "detail"));
            (void)fprintf(cli->err, "  %s: %s\n", at ? at : "?", detail ? detail : "?");
        }
    }
    gdfo_json_destroy(root);
}

int gdfo_cli_check(struct gdfo_cli *cli, enum gdfo_status status, struct gdfo_error *err)
{
    if (status != GDFO_STATUS_OK) {
        return gdfo_cli_fail(cli, err);
    }
    if (gdfo_reply_error(&cli->reply, err) == GDFO_STATUS_OK) {
        return 0;
    }
    tell_more(cli);
    return gdfo_cli_fail(cli, err);
}

int gdfo_cli_check_json(struct gdfo_cli *cli, enum gdfo_status status, struct gdfo_json **out,
                        struct gdfo_error *err)
{
    int code = gdfo_cli_check(cli, status, err);
    if (code) {
        return code;
    }
    if (gdfo_reply_json(&cli->reply, out, err) != GDFO_STATUS_OK) {
        return gdfo_cli_fail_as(cli, GDFO_EXIT_FAILED, "%s", err->text);
    }
    if (gdfo_json_type(*out) != GDFO_JSON_OBJECT) {
        gdfo_json_destroy(*out);
        *out = NULL;
        return gdfo_cli_fail_as(cli, GDFO_EXIT_FAILED, "the daemon's answer is no JSON object");
    }
    return 0;
}

int gdfo_cli_is_interrupted(const struct gdfo_cli *cli)
{
    return cli->cancel && atomic_load_explicit(cli->cancel, memory_order_acquire) != 0;
}

/* ---- output ---- */

static int is_listed(const char *fields, const char *key)
{
    size_t len = strlen(key);
    while (*fields) {
        size_t n = strcspn(fields, ",");
        if (n == len && memcmp(fields, key, n) == 0) {
            return 1;
        }
        fields += n;
        fields += *fields == ',';
    }
    return 0;
}

static void write_fields(struct gdfo_json_writer *w, const struct gdfo_json *v, const char *fields)
{
    gdfo_json_open(w, NULL, '{');
    for (const struct gdfo_json *m = gdfo_json_first(v); m; m = gdfo_json_next(m)) {
        if (is_listed(fields, gdfo_json_key(m))) {
            gdfo_json_put_node(w, gdfo_json_key(m), m);
        }
    }
    gdfo_json_close(w, '}');
}

/* Fields of an object; of each element, when v is a list. */
static void write_picked(struct gdfo_json_writer *w, const struct gdfo_json *v, const char *fields)
{
    const struct gdfo_json *rows = gdfo_json_get(v, "data");
    if (!rows || gdfo_json_type(rows) != GDFO_JSON_ARRAY) {
        write_fields(w, v, fields);
        return;
    }
    gdfo_json_open(w, NULL, '[');
    for (const struct gdfo_json *row = gdfo_json_first(rows); row; row = gdfo_json_next(row)) {
        if (gdfo_json_type(row) == GDFO_JSON_OBJECT) {
            write_fields(w, row, fields);
        }
    }
    gdfo_json_close(w, ']');
}

int gdfo_cli_print_json(struct gdfo_cli *cli, const struct gdfo_json *v)
{
    struct gdfo_buf b;
    struct gdfo_json_writer w;
    int is_ok;
    gdfo_buf_init(&b, GDFO_REPLY_MAX_BYTES * 2);
    w = gdfo_json_writer(&b);
    if (cli->fields && gdfo_json_type(v) == GDFO_JSON_OBJECT) {
        write_picked(&w, v, cli->fields);
    } else {
        gdfo_json_put_node(&w, NULL, v);
    }
    is_ok = gdfo_buf_ok(&b);
    if (is_ok) {
        (void)fprintf(cli->out, "%s\n", b.data);
        (void)fflush(cli->out);
    }
    gdfo_buf_deinit(&b);
    return is_ok ? GDFO_EXIT_DONE : gdfo_cli_fail_as(cli, GDFO_EXIT_FAILED, "out of memory");
}

int gdfo_cli_confirm(struct gdfo_cli *cli, const char *question)
{
    char line[16] = "";
    if (!cli->is_tty_in || !cli->is_tty_err) {
        return 1;
    }
    (void)fprintf(cli->err, "%s [y/N] ", question);
    (void)fflush(cli->err);
    return fgets(line, sizeof line, stdin) && (line[0] == 'y' || line[0] == 'Y');
}
