#include "client/cli/render.h"

/* One document for one file; a stream, one a line, for several. */
static int put(struct gdfo_cli *cli, const char *path)
{
    struct gdfo_error err = {0};
    struct gdfo_json *file = NULL;
    int code = gdfo_cli_check_json(cli, gdfo_client_file_put(cli->client, path, &cli->reply, &err),
                                   &file, &err);
    if (code) {
        return code;
    }
    if (cli->is_json) {
        code = gdfo_cli_print_json(cli, file);
    } else {
        const char *id = gdfo_cli_text_at(file, "id");
        (void)fprintf(cli->out, "%s\n", id ? id : "?");
    }
    gdfo_json_destroy(file);
    return code;
}

static int run(struct gdfo_cli *cli)
{
    int code = 0;
    for (size_t i = 0; i < cli->args.n_words && !code; i++) {
        code = put(cli, cli->args.words[i]);
    }
    return code;
}

static const struct gdfo_cli_option options[] = {GDFO_CLI_JSON_OPTION, {0}};

const struct gdfo_cli_command gdfo_cmd_file_put = {
    .words = "file put",
    .usage = "FILE...",
    .min_words = 1,
    .max_words = GDFO_CLI_ARGS_MAX,
    .options = options,
    .help = "upload training or validation files (JSONL)",
    .run = run,
};
