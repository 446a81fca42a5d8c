#include "client/cli/render.h"

static const struct gdfo_cli_column columns[] = {
    {"id", "id", GDFO_CLI_TEXT},           {"name", "filename", GDFO_CLI_TEXT},
    {"size", "bytes", GDFO_CLI_BYTES},     {"lines", "n_lines", GDFO_CLI_COUNT},
    {"status", "status", GDFO_CLI_TEXT},   {"created", "created_at", GDFO_CLI_AGE},
    {"sha256", "sha256", GDFO_CLI_TEXT},   {"expires", "expires_at", GDFO_CLI_COUNT},
    {"project", "project", GDFO_CLI_TEXT}, {0}};

static int run(struct gdfo_cli *cli)
{
    struct gdfo_error err = {0};
    const char *id = cli->args.words[0];
    if (!gdfo_client_is_id(id)) {
        return gdfo_cli_fail_as(cli, GDFO_EXIT_USAGE, "\"%.60s\" is no file id", id);
    }
    return gdfo_cli_show(cli, gdfo_client_get(cli->client, &cli->reply, &err, "/v1/files/%s", id),
                         &err, columns);
}

static const struct gdfo_cli_option options[] = {GDFO_CLI_JSON_OPTION, {0}};

const struct gdfo_cli_command gdfo_cmd_file_show = {
    .words = "file show",
    .usage = "ID",
    .min_words = 1,
    .max_words = 1,
    .options = options,
    .help = "one file",
    .run = run,
};
