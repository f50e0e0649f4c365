package jobspec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// object is a JSON object that keeps the order of its keys, since that is the
// order in which Prefect's forms show job variables. Values are object, []any,
// string, bool, int, json.Number or nil.
type object []member

type member struct {
	key   string
	value any
}

func (o object) get(key string) (any, bool) {
	i := slices.IndexFunc(o, func(m member) bool { return m.key == key })
	if i < 0 {
		return nil, false
	}
	return o[i].value, true
}

// object returns the object under key, empty when there is none.
func (o object) object(key string) object {
	v, _ := o.get(key)
	sub, _ := v.(object)
	return sub
}

// with returns o with key set, in its place or at the end.
func (o object) with(key string, value any) object {
	out := slices.Clone(o)
	if i := slices.IndexFunc(out, func(m member) bool { return m.key == key }); i >= 0 {
		out[i].value = value
		return out
	}
	return append(out, member{key, value})
}

// withAfter returns o with a new key right after another one.
func (o object) withAfter(after, key string, value any) object {
	i := slices.IndexFunc(o, func(m member) bool { return m.key == after })
	if i < 0 {
		return o.with(key, value)
	}
	return slices.Insert(slices.Clone(o), i+1, member{key, value})
}

func (o object) without(key string) object {
	return slices.DeleteFunc(slices.Clone(o), func(m member) bool { return m.key == key })
}

// MarshalJSON implements json.Marshaler.
func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		key, err := encode(m.key)
		if err != nil {
			return nil, err
		}
		value, err := encode(m.value)
		if err != nil {
			return nil, err
		}
		b.Write(key)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// encode is json.Marshal without turning & < > into escapes.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

// mustEncode encodes what this package put together itself.
func mustEncode(v any) json.RawMessage {
	body, err := encode(v)
	if err != nil {
		panic("jobspec: " + err.Error())
	}
	return body
}

// decodeObject reads one JSON object, order kept.
func decodeObject(raw []byte) (object, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	v, err := decodeValue(d)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one JSON value")
	}
	o, ok := v.(object)
	if !ok {
		return nil, fmt.Errorf("%s instead of an object", typeName(v))
	}
	return o, nil
}

func decodeValue(d *json.Decoder) (any, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('{'):
		o := object{}
		for d.More() {
			key, err := d.Token()
			if err != nil {
				return nil, err
			}
			value, err := decodeValue(d)
			if err != nil {
				return nil, err
			}
			o = append(o, member{key.(string), value}) // the decoder lets no other key through
		}
		_, err = d.Token()
		return o, err
	case json.Delim('['):
		list := []any{}
		for d.More() {
			value, err := decodeValue(d)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		_, err = d.Token()
		return list, err
	}
	return token, nil
}

// mapTexts returns v with every string value in it replaced by f's.
func mapTexts(v any, f func(string) string) any {
	switch v := v.(type) {
	case string:
		return f(v)
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = mapTexts(item, f)
		}
		return out
	case object:
		out := make(object, len(v))
		for i, m := range v {
			out[i] = member{m.key, mapTexts(m.value, f)}
		}
		return out
	}
	return v
}
