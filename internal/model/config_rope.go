package model

import (
	"cmp"
	"fmt"
	"math"
	"reflect"
)

// rawRope is the object rope_scaling or rope_parameters as written.
type rawRope struct {
	Type            string    `json:"type"`
	RopeType        string    `json:"rope_type"`
	Theta           *float64  `json:"rope_theta"`
	Partial         *float64  `json:"partial_rotary_factor"`
	Short           []float32 `json:"short_factor"`
	Long            []float32 `json:"long_factor"`
	OriginalMax     *int      `json:"original_max_position_embeddings"`
	Factor          *float64  `json:"factor"`
	AttentionFactor *float64  `json:"attention_factor"`
}

// rope merges the old and new spellings of the RoPE settings into c.RoPE. If a key is given twice, the
// one in the object counts, as in transformers 5. Of original_max_position_embeddings only the one at the
// top level counts (standardize_rope_params).
func (r *rawConfig) rope(c *Config) error {
	scaling, key := r.ropeObject()
	if scaling == nil {
		scaling = &rawRope{}
	}
	rope, err := r.rotation(c, scaling)
	if err != nil {
		return err
	}
	switch kind := cmp.Or(scaling.RopeType, scaling.Type); kind {
	case "", "default":
	case "longrope", "su", "yarn": // three names for the same thing in the configs of Phi-3
		if rope.OddDim > 0 {
			return fmt.Errorf("partial_rotary_factor %g of a head dimension of %d rotates %d dimensions, an "+
				"odd number, for which %s has no factors", or(scaling.Partial, or(r.Partial, 1)), c.HeadDim,
				rope.OddDim, key)
		}
		if err := scaling.long(c, rope, key); err != nil {
			return err
		}
	default:
		return fmt.Errorf("%s has the type %q; Phi-3 uses \"longrope\" (also called \"su\") or none", key,
			kind)
	}
	c.RoPE = *rope
	return nil
}

// rotation reads the settings of plain RoPE.
func (r *rawConfig) rotation(c *Config, scaling *rawRope) (*RoPEConfig, error) {
	for _, k := range []struct {
		key    string
		inside bool
	}{{"rope_theta", scaling.Theta != nil}, {"partial_rotary_factor", scaling.Partial != nil}} {
		if r.ropeNulls[k.key] || r.nulls[k.key] && !k.inside {
			return nil, fmt.Errorf("%s is null, not a number", k.key)
		}
	}
	theta := or(scaling.Theta, or(r.Theta, 10000))
	if !(theta >= 1) || math.IsInf(theta, 0) {
		return nil, fmt.Errorf("rope_theta is %g, not a number from 1 up", theta)
	}
	partial := or(scaling.Partial, or(r.Partial, 1))
	if !(partial > 0 && partial <= 1) {
		return nil, fmt.Errorf("partial_rotary_factor is %g, not in (0, 1]", partial)
	}
	rope := &RoPEConfig{
		Theta:           theta,
		Dim:             int(float64(c.HeadDim) * partial),
		OriginalMax:     or(r.OriginalMax, 4096),
		AttentionFactor: 1,
	}
	if rope.Dim < 1 {
		return nil, fmt.Errorf("partial_rotary_factor %g of a head dimension of %d rotates 0 dimensions",
			partial, c.HeadDim)
	}
	if rope.Dim%2 != 0 {
		rope.OddDim = rope.Dim
		rope.Dim++
	}
	return rope, nil
}

// long adds the settings of long RoPE. key is the object's in config.json.
func (r *rawRope) long(c *Config, rope *RoPEConfig, key string) error {
	if inside := or(r.OriginalMax, rope.OriginalMax); inside != rope.OriginalMax {
		c.note(fmt.Sprintf("original_max_position_embeddings is %d in %s, where it does not count, and "+
			"%d beside it, which counts, as in transformers 5 (without that key it is 4096)",
			inside, key, rope.OriginalMax))
	}
	if rope.OriginalMax < 1 || rope.OriginalMax > maxSize {
		return fmt.Errorf("original_max_position_embeddings is %d, not in 1 … %d", rope.OriginalMax, maxSize)
	}
	rope.ShortFactor, rope.LongFactor = r.Short, r.Long
	for _, f := range []struct {
		name   string
		values []float32
	}{{"short_factor", rope.ShortFactor}, {"long_factor", rope.LongFactor}} {
		if len(f.values) != rope.Dim/2 {
			return fmt.Errorf("%s.%s has %d numbers, not %d (half of the %d rotated dimensions)",
				key, f.name, len(f.values), rope.Dim/2, rope.Dim)
		}
		for i, v := range f.values {
			if !(v > 0) || math.IsInf(float64(v), 0) {
				return fmt.Errorf("%s.%s[%d] is %g, not a positive number", key, f.name, i, v)
			}
		}
	}
	rope.AttentionFactor = attentionFactor(r, c.MaxPositions, rope.OriginalMax)
	if a := rope.AttentionFactor; !(a > 0) || math.IsInf(a, 0) {
		return fmt.Errorf("%s gives an attention factor of %g, not a positive number", key, a)
	}
	return nil
}

// ropeObject returns the object with the RoPE settings and its key. The object is nil if there is none or
// if it is empty.
func (r *rawConfig) ropeObject() (*rawRope, string) {
	if r.RopeScaling != nil && !reflect.ValueOf(*r.RopeScaling).IsZero() {
		return r.RopeScaling, "rope_scaling"
	}
	return r.RopeParams, "rope_parameters"
}

// attentionFactor is A of spec 3.2: cosines and sines are multiplied by it to compensate for the
// stretched positions.
func attentionFactor(r *rawRope, maxPositions, originalMax int) float64 {
	if r.AttentionFactor != nil {
		return *r.AttentionFactor
	}
	factor := or(r.Factor, float64(maxPositions)/float64(originalMax))
	if factor <= 1 {
		return 1
	}
	return math.Sqrt(1 + math.Log(factor)/math.Log(float64(originalMax)))
}
