package pgpsym

import "encoding/binary"

// readPacket reads the packet at the start of raw.
func readPacket(raw []byte) (tag byte, body, rest []byte, err error) {
	if len(raw) == 0 || raw[0]&0x80 == 0 {
		return 0, nil, nil, ErrUnreadable
	}
	header, raw := raw[0], raw[1:]
	if header&0x40 == 0 {
		body, rest, err = readOldLength(header&3, raw)
		return header >> 2 & 15, body, rest, err
	}
	for {
		size, partial, after, err := readLength(raw)
		if err != nil || size > len(after) {
			return 0, nil, nil, ErrUnreadable
		}
		if !partial && body == nil {
			return header & 63, after[:size], after[size:], nil
		}
		body, raw = append(body, after[:size]...), after[size:]
		if !partial {
			return header & 63, body, raw, nil
		}
	}
}

// readOldLength reads what comes after a header of the old form.
func readOldLength(kind byte, raw []byte) (body, rest []byte, err error) {
	if kind == 3 {
		return raw, nil, nil
	}
	n := 1 << kind
	if len(raw) < n {
		return nil, nil, ErrUnreadable
	}
	size := uint64(0)
	for _, b := range raw[:n] {
		size = size<<8 | uint64(b)
	}
	if size > uint64(len(raw)-n) {
		return nil, nil, ErrUnreadable
	}
	end := n + int(size)
	return raw[n:end], raw[end:], nil
}

// readLength reads a length, and whether another part of the packet comes after that many bytes.
func readLength(raw []byte) (size int, partial bool, rest []byte, err error) {
	switch {
	case len(raw) > 0 && raw[0] < 192:
		return int(raw[0]), false, raw[1:], nil
	case len(raw) > 1 && raw[0] < 224:
		return int(raw[0]-192)<<8 + int(raw[1]) + 192, false, raw[2:], nil
	case len(raw) > 4 && raw[0] == 255:
		size := binary.BigEndian.Uint32(raw[1:])
		if uint64(size) > uint64(len(raw)) {
			return 0, false, nil, ErrUnreadable
		}
		return int(size), false, raw[5:], nil
	case len(raw) > 0 && raw[0] >= 224 && raw[0] < 255:
		return 1 << (raw[0] & 31), true, raw[1:], nil
	}
	return 0, false, nil, ErrUnreadable
}

// writePacket appends a packet to out.
func writePacket(out []byte, tag byte, body []byte) []byte {
	out = append(out, 0xc0|tag)
	switch size := len(body); {
	case size < 192:
		out = append(out, byte(size))
	case size < 192+32<<8:
		out = append(out, byte((size-192)>>8)+192, byte(size-192))
	default:
		out = binary.BigEndian.AppendUint32(append(out, 255), uint32(size))
	}
	return append(out, body...)
}
