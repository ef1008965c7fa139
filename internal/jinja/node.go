package jinja

// stmt is a statement of a template: text, {{ … }} or {% … %}.
type stmt interface {
	exec(r *run, s *scope) (signal, error)
}

// expr is an expression.
type expr interface {
	eval(r *run, s *scope) (Value, error)
}

// The statements.
type (
	output struct { // text, and {{ }} of every kind in a row
		parts []part
	}
	part struct {
		line int
		text string
		expr expr // nil for text
		fold bool // there is a slice in expr; see run.fold
	}
	ifStmt struct {
		line int
		test expr
		then []stmt
		or   []stmt // elif is an ifStmt in here
	}
	forStmt struct {
		line        int
		target      target
		items, test expr // test may be nil
		body, or    []stmt
		recursive   bool
	}
	breakStmt struct{ signal signal } // or continue
	setStmt   struct {
		line   int
		target target
		value  expr
	}
	setBlock struct {
		line   int
		target target
		filter expr // of the captured text; may be nil
		body   []stmt
	}
	withStmt struct {
		line    int
		targets []target
		values  []expr
		body    []stmt
	}
	macroStmt struct {
		line  int
		macro macroDef
	}
	callBlock struct { // {% call(args) f() %}body{% endcall %}, and {% generation %}
		line   int
		caller macroDef
		call   *callExpr
	}
	filterBlock struct {
		line   int
		filter expr
		body   []stmt
	}
	blockStmt struct {
		line     int
		name     string
		scoped   bool
		required bool
		body     []stmt
	}
	scopeStmt struct{ body []stmt } // {% generation %}
	refused   struct {              // include, import, from, extends
		line int
		what string
	}
)

// macroDef is the part that macros and call blocks share.
type macroDef struct {
	name                    string // "" of a call block
	params                  []string
	defaults                []expr // of the last params
	body                    []stmt
	caller, kwargs, varargs bool // whether body uses these names without defining them
}

// target is what set, for and with assign to: a name, an attribute of a namespace, or a tuple of targets.
type target struct {
	name  string
	attr  string   // of the namespace called name
	tuple []target // if isTuple
	is    targetKind
}

type targetKind uint8

const (
	toName targetKind = iota
	toAttr
	toTuple
)

// The expressions.
type (
	constant struct{ value Value }
	variable struct{ name string }
	tupleOf  struct{ items []expr }
	listOf   struct{ items []expr }
	dictOf   struct{ keys, values []expr }
	unary    struct {
		op string
		x  expr
	}
	binary struct {
		op   string
		x, y expr
	}
	notExpr struct{ x expr }
	logic   struct { // and, or: the value of one of the two
		and  bool
		x, y expr
	}
	compare struct { // a < b in c: ops[i] stands before rest[i]
		first expr
		ops   []string
		rest  []expr
	}
	concat      struct{ items []expr }
	conditional struct{ then, test, or expr } // or may be nil
	attribute   struct {
		x    expr
		name string
	}
	itemOf  struct{ x, key expr }
	sliceOf struct{ x, start, stop, step expr } // nil where left out
	args    struct {
		pos       []expr
		names     []string
		named     []expr
		star, kws expr // *x and **x; may be nil
	}
	callExpr struct {
		fn expr
		args
	}
	filterExpr struct {
		x    expr // nil: the text of the block around it
		name string
		args
	}
	testExpr struct {
		x    expr
		name string
		args
	}
)
