#include "client/cli/cli.h"
#include "client/cli/input.h"

#include <string.h>

#define BODY_MAX_BYTES ((size_t)1 << 20)

static int is_method(const char *s)
{
    static const char *const all[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (strcmp(all[i], s) == 0) {
            return 1;
        }
    }
    return 0;
}

/* The body into b; the exit code of a failure. */
static int take_body(struct gdfo_cli *cli, const char *d, struct gdfo_buf *b)
{
    struct gdfo_error err = {0};
    if (d[0] != '@') {
        gdfo_buf_add(b, d);
    } else if (gdfo_input_read(d + 1, b, &err) != GDFO_STATUS_OK) {
        return gdfo_cli_fail_as(cli, GDFO_EXIT_USAGE, "%s", err.text);
    }
    return gdfo_buf_ok(b) ? 0
                          : gdfo_cli_fail_as(cli, GDFO_EXIT_USAGE,
                                             "the body is longer than %zu bytes", BODY_MAX_BYTES);
}

static void print_body(struct gdfo_cli *cli)
{
    const struct gdfo_buf *b = &cli->reply.body;
    if (b->len) {
        (void)fwrite(b->data, 1, b->len, cli->out);
        if (b->data[b->len - 1] != '\n') {
            (void)fputc('\n', cli->out);
        }
    }
}

static int run(struct gdfo_cli *cli)
{
    struct gdfo_request request = {.method = cli->args.words[0], .path = cli->args.words[1]};
    const char *d = gdfo_cli_args_get(&cli->args, "data");
    struct gdfo_error err = {0};
    struct gdfo_buf body;
    enum gdfo_status status;
    int code = 0;
    if (!is_method(request.method) || request.path[0] != '/') {
        return gdfo_cli_fail_as(
            cli, GDFO_EXIT_USAGE,
            "gdfo api %.20s %.40s: want GET, POST, ... and a path like /v1/info", request.method,
            request.path);
    }
    gdfo_buf_init(&body, BODY_MAX_BYTES);
    if (d) {
        code = take_body(cli, d, &body);
        request.body = body.data ? body.data : "";
        request.n_body = body.len;
    }
    if (!code) {
        status = gdfo_client_send(cli->client, &request, &cli->reply, &err);
        if (status == GDFO_STATUS_OK && (cli->reply.http < 400 || cli->is_json)) {
            print_body(cli);
        }
        cli->is_json = cli->is_json && status != GDFO_STATUS_OK; /* the body was the document */
        code = gdfo_cli_check(cli, status, &err);
    }
    gdfo_buf_deinit(&body);
    return code;
}

static const struct gdfo_cli_option options[] = {
    GDFO_CLI_JSON_OPTION,
    {"data", 'd', GDFO_CLI_VALUE, "BODY", "JSON, @FILE, or @- for stdin"},
    {0}};

const struct gdfo_cli_command gdfo_cmd_api = {
    .words = "api",
    .usage = "METHOD PATH [-d JSON|@FILE|@-]",
    .min_words = 2,
    .max_words = 2,
    .options = options,
    .help = "any route: prints the body as it came",
    .run = run,
};
