#include "client/cli/render.h"

static const struct gdfo_cli_column columns[] = {{"FILE", "id", GDFO_CLI_TEXT},
                                                 {"NAME", "filename", GDFO_CLI_TEXT},
                                                 {"SIZE", "bytes", GDFO_CLI_BYTES},
                                                 {"LINES", "n_lines", GDFO_CLI_COUNT},
                                                 {"STATUS", "status", GDFO_CLI_TEXT},
                                                 {"CREATED", "created_at", GDFO_CLI_AGE},
                                                 {0}};

static int run(struct gdfo_cli *cli)
{
    return gdfo_cli_list(cli, "/v1/files", columns, "no files yet: gdfo file put FILE");
}

static const struct gdfo_cli_option options[] = {GDFO_CLI_LIST_OPTIONS, {0}};

const struct gdfo_cli_command gdfo_cmd_file_ls = {
    .words = "file ls",
    .usage = "",
    .min_words = 0,
    .max_words = 0,
    .options = options,
    .help = "files the daemon keeps, newest first",
    .run = run,
};
