#ifndef GDFO_SERVER_STORE_MIGRATE_PRIV_H
#define GDFO_SERVER_STORE_MIGRATE_PRIV_H

#include "common/error.h"

#include <stddef.h>
#include <stdint.h>

/* Migrations, embedded at build from migrations/NNNN_what.sql (migrations/embed.cmake). */
struct gdfo_db;

struct gdfo_migration {
    int64_t version; /* the database's user_version afterwards: 1, 2, ... */
    const char *name;
    const char *sql;
};

extern const struct gdfo_migration gdfo_migrations[];
extern const size_t gdfo_n_migrations;

struct gdfo_migrate {
    const struct gdfo_migration *migrations;
    size_t n;
    const char *backup_folder;
    int64_t now_ms;
};

/* Brings the database to the last version of the table, one transaction each; a copy first when
 * there is anything to lose. UNSUPPORTED when it is newer, FORMAT when it is not a gdfo database.
 */
GDFO_MUST_USE enum gdfo_status gdfo_migrate(struct gdfo_db *db, const struct gdfo_migrate *m,
                                            struct gdfo_error *err);

#endif
