/* Parameters in PostgreSQL's binary form (network byte order), which spares both sides the quoting. */
#include "store_postgres.h"

#include <endian.h>

/* What stands before an array's elements: dimensions, whether there are NULLs, the type, the count, the first index. */
#define HEADER_SIZE 20u
/* Type numbers of pg_type. */
static const uint32_t element_types[] = {
    [PG_TYPE_NUMBERS] = 20, [PG_TYPE_BOOLS] = 16, [PG_TYPE_BYTES_ARRAY] = 17, [PG_TYPE_TEXTS] = 25};

static void put_u32(uint8_t *bytes, uint32_t value)
{
    value = htobe32(value);
    memcpy(bytes, &value, sizeof value);
}

/* Room for one element; NULL where memory ran out. */
static uint8_t *add_element(struct pg_array *array, size_t length)
{
    size_t used = array->length ? array->length : HEADER_SIZE;
    size_t needed = used + 4 + length;
    if (array->failed)
        return NULL;
    if (needed > array->capacity) {
        size_t capacity = needed < 512 ? 1024 : 2 * needed;
        uint8_t *grown = realloc(array->bytes, capacity);
        if (!grown) {
            array->failed = true;
            return NULL;
        }
        array->bytes = grown;
        array->capacity = capacity;
    }
    put_u32(array->bytes + used, (uint32_t)length);
    array->length = needed;
    array->count++;
    return array->bytes + used + 4;
}

void pg_array_number(struct pg_array *array, int64_t value)
{
    uint8_t *place = add_element(array, sizeof value);
    uint64_t wire = htobe64((uint64_t)value);
    if (place)
        memcpy(place, &wire, sizeof wire);
}

void pg_array_bool(struct pg_array *array, bool value)
{
    uint8_t *place = add_element(array, 1);
    if (place)
        *place = value;
}

void pg_array_bytes(struct pg_array *array, const void *bytes, size_t length)
{
    uint8_t *place = add_element(array, bytes ? length : 0);
    if (place && bytes)
        memcpy(place, bytes, length);
    else if (place)
        put_u32(place - 4, UINT32_MAX);
}

void pg_array_text(struct pg_array *array, const char *text)
{
    pg_array_bytes(array, text, strlen(text));
}

void pg_array_free(struct pg_array *array)
{
    free(array->bytes);
    *array = (struct pg_array){0};
}

static bool encode_array(const struct pg_value *value, const char **ret_bytes, int *ret_length)
{
    static const uint8_t empty[12];
    struct pg_array *array = value->array;
    if (array->failed || array->length > INT32_MAX)
        return false;
    if (!array->count && !array->bytes) {
        /* No dimensions; the type is checked all the same, so room for it is needed. */
        array->bytes = malloc(sizeof empty);
        if (!array->bytes)
            return false;
        memcpy(array->bytes, empty, sizeof empty);
        array->capacity = sizeof empty;
    }
    put_u32(array->bytes, array->count > 0);
    put_u32(array->bytes + 4, 1);
    put_u32(array->bytes + 8, element_types[value->type]);
    if (array->count) {
        put_u32(array->bytes + 12, (uint32_t)array->count);
        put_u32(array->bytes + 16, 1);
    }
    *ret_bytes = (const char *)array->bytes;
    *ret_length = (int)(array->count ? array->length : sizeof empty);
    return true;
}

bool pg_value_encode(const struct pg_value *value, uint8_t ret_number[static 8], const char **ret_bytes,
                     int *ret_length)
{
    uint64_t wire = htobe64((uint64_t)value->number);
    switch (value->type) {
    case PG_TYPE_NUMBER:
        memcpy(ret_number, &wire, sizeof wire);
        *ret_bytes = (const char *)ret_number;
        *ret_length = sizeof wire;
        return true;
    case PG_TYPE_BYTES:
    case PG_TYPE_TEXT:
        *ret_bytes = value->bytes;
        *ret_length = (int)value->length;
        return value->length <= INT32_MAX;
    default:
        return encode_array(value, ret_bytes, ret_length);
    }
}
