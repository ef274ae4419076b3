/* Numbers and fields, as docs/agent-protocol.md lays them out. */
#include "agent.h"

#include <string.h>

uint64_t get_number(const uint8_t *from, int bytes)
{
    uint64_t value = 0;
    for (int i = bytes - 1; i >= 0; i--)
        value = value << 8 | from[i];
    return value;
}

void put_number(uint8_t *to, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++, value >>= 8)
        to[i] = (uint8_t)value;
}

/* False at the end, and after a field that does not fit (then reader->broken). */
bool next_field(struct reader *reader, struct field *field)
{
    size_t left = (size_t)(reader->end - reader->at);
    if (left == 0)
        return false;
    reader->broken = true;
    if (left < 5)
        return false;
    field->tag = reader->at[0];
    field->length = (uint32_t)get_number(reader->at + 1, 4);
    field->value = reader->at + 5;
    if (field->length > left - 5)
        return false;
    reader->at += 5 + field->length;
    reader->broken = false;
    return true;
}

bool field_number(const struct field *field, uint64_t *value)
{
    if (field->length != 8)
        return false;
    *value = get_number(field->value, 8);
    return true;
}

/* What does not fit is left out whole: the caller sizes its buffers for the worst case. */
void put_field(struct writer *writer, uint8_t tag, const void *value, size_t length)
{
    if ((size_t)(writer->end - writer->at) < 5 + length)
        return;
    writer->at[0] = tag;
    put_number(writer->at + 1, length, 4);
    memcpy(writer->at + 5, value, length);
    writer->at += 5 + length;
}

void put_field_number(struct writer *writer, uint8_t tag, uint64_t value)
{
    uint8_t bytes[8];
    put_number(bytes, value, 8);
    put_field(writer, tag, bytes, sizeof bytes);
}

void put_field_text(struct writer *writer, uint8_t tag, const char *text)
{
    put_field(writer, tag, text, strlen(text));
}

void put_measurement(struct writer *writer, uint8_t tag, uint64_t value, enum source source,
                     enum scope scope)
{
    uint8_t bytes[10];
    put_number(bytes, value, 8);
    bytes[8] = (uint8_t)source;
    bytes[9] = (uint8_t)scope;
    put_field(writer, tag, bytes, sizeof bytes);
}
