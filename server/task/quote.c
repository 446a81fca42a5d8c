#include "server/task/quote.h"

#include "common/parse.h"

#include <stdint.h>
#include <string.h>

#define ROOM (GDFO_QUOTE_BYTES - 8) /* quotes, an ellipsis, a NUL */

struct gdfo_quoted gdfo_task_quote(const char *text)
{
    struct gdfo_quoted q = {{'"'}};
    size_t n = strlen(text);
    size_t at = 0;
    size_t len = 1;
    while (at < n) {
        uint32_t c = 0;
        size_t step = gdfo_utf8_next(text + at, n - at, &c);
        int is_plain = step > 0 && c >= 0x20 && c != 0x7F;
        size_t width = is_plain ? step : 1;
        if (len + width > ROOM) {
            memcpy(q.s + len, "...", 3);
            len += 3;
            break;
        }
        memcpy(q.s + len, is_plain ? text + at : "?", width);
        len += width;
        at += step > 0 ? step : 1;
    }
    q.s[len] = '"';
    return q;
}
