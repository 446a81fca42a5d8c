#include "server/model/tokenizer/unicode_priv.h"

enum gdfo_unicode_class gdfo_unicode_classify(uint32_t code_point)
{
    size_t low = 0;
    size_t high = gdfo_unicode_n_ranges;
    while (low < high) {
        const size_t mid = low + (high - low) / 2;
        const struct gdfo_unicode_range *r = &gdfo_unicode_ranges[mid];
        if (code_point < r->first) {
            high = mid;
        } else if (code_point > r->last) {
            low = mid + 1;
        } else {
            return r->class;
        }
    }
    return GDFO_UNICODE_OTHER;
}
