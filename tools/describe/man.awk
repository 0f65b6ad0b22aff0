# Makes a manual page of Markdown: awk -v version=VERSION -f man.awk PAGE.md > PAGE.N
#
# Understood is what the pages of docs/ are made of: headings, paragraphs, lists, definition lists (a term, then lines that begin with
# ": "), tables, literal blocks (indented by four, or fenced), `code`, **bold**, *emphasis*, [links](to). The title is
# "# NAME(SECTION): what it is". Tables become definition lists: a page is read at any width. No date: the same text gives the same page.

function fail(line, why)
{
	print FILENAME ":" line ": " why >"/dev/stderr"
	failed = 1
	exit 1
}

# ---- text -------------------------------------------------------------------------------------------------------------

function escaped(text)
{
	gsub(/\\/, "\\e", text)
	return text
}

# Text that is typed as it stands: its dashes and quotes are those of ASCII.
function typed(text)
{
	text = escaped(text)
	gsub(/-/, "\\-", text)
	gsub(/'/, "\\(aq", text)
	gsub(/`/, "\\(ga", text)
	gsub(/\^/, "\\(ha", text)
	gsub(/~/, "\\(ti", text)
	return text
}

# A link's text, and the page that it leads to where the text does not name it.
function link(text, to, before,    plain)
{
	sub(/#.*/, "", to)
	plain = text
	gsub(/`/, "", plain)
	if (to == "" || plain == to)
		return inline(text)
	if (to == plain ".md" || to ~ ("/" plain "\\.md$"))
		return typed(to)
	return inline(text) (before == "(" ? ": " : " (") typed(to) (before == "(" ? "" : ")")
}

# The length of what begins with `mark` and ends with it again, marks and all; 0: nothing does.
function span(text, mark,    n)
{
	n = index(substr(text, length(mark) + 1), mark)
	return n > 1 ? n - 1 + 2 * length(mark) : 0
}

function inline(text,    out, n, c, before)
{
	while (text != "") {
		c = substr(text, 1, 1)
		n = 1
		if (c == "`" && (n = span(text, "`"))) {
			out = out "\\fB" typed(substr(text, 2, n - 2)) "\\fR"
		} else if (substr(text, 1, 2) == "**" && (n = span(text, "**"))) {
			out = out "\\fB" typed(substr(text, 3, n - 4)) "\\fR"
		} else if (text ~ /^\*[^ *]/ && (n = span(text, "*"))) {
			out = out "\\fI" typed(substr(text, 2, n - 2)) "\\fR"
		} else if (match(text, /^\[[^]]+\]\([^)]+\)/)) {
			n = RLENGTH
			c = index(text, "](")
			out = out link(substr(text, 2, c - 2), substr(text, c + 2, n - c - 2), before)
		} else if (match(text, /^--[a-z]/)) {
			n = 2
			out = out "\\-\\-"
		} else {
			n = 1
			out = out escaped(c)
		}
		before = substr(text, n, 1)
		text = substr(text, n + 1)
	}
	return out
}

# A line of the page that is no request of its own.
function put(text)
{
	headed = 0
	print (text ~ /^[.']/ ? "\\&" : "") text
}

# ---- blocks -----------------------------------------------------------------------------------------------------------

function title(text,    n, name, section)
{
	if (!match(text, /^[^ (]+\([1-9]\): /))
		fail(NR, "the title is not \"# NAME(SECTION): what it is\"")
	n = index(text, "(")
	name = substr(text, 1, n - 1)
	section = substr(text, n + 1, 1)
	print ".\\\" Made by tools/describe: see docs/man."
	print ".TH " toupper(name) " " section " \"\" \"weir " version "\" \"Weir\""
	print ".nh\n.ad l"
	print ".SH NAME"
	print typed(name) " \\- " inline(substr(text, RLENGTH + 1))
}

function heading(text,    body, depth)
{
	match(text, /^#+ /)
	depth = RLENGTH - 1
	body = substr(text, RLENGTH + 1)
	if (depth == 1)
		title(body)
	else if (depth == 2)
		print ".SH " quoted(toupper(body))
	else if (depth == 3)
		print ".SS " quoted(inline(body))
	else
		print ".PP\n\\fB" inline(body) "\\fR"
	headed = depth < 4
}

function quoted(text)
{
	gsub(/"/, "\\(dq", text)
	return "\"" text "\""
}

# A heading begins a paragraph by itself.
function paragraph()
{
	if (!headed)
		print ".PP"
}

# What has been gathered of a paragraph, of an item of a list or of a definition.
function flush()
{
	if (kind == "paragraph") {
		paragraph()
		put(inline(gathered))
	} else if (kind == "item") {
		print ".IP " mark " " indent
		put(inline(gathered))
	} else if (kind == "definition") {
		print ".TP"
		put(inline(term))
		put(inline(gathered))
	}
	kind = gathered = ""
}

function gather(text)
{
	sub(/^ +/, "", text)
	gathered = gathered (gathered == "" ? "" : " ") text
}

function begin(what, text)
{
	flush()
	kind = what
	gather(text)
}

function literal(text)
{
	if (!in_literal) {
		flush()
		paragraph()
		print ".RS 4\n.nf"
		in_literal = 1
	}
	for (; blank_lines; blank_lines--)
		print ""
	put(typed(text))
}

function end_literal()
{
	if (in_literal)
		print ".fi\n.RE"
	in_literal = blank_lines = 0
}

# ---- tables -----------------------------------------------------------------------------------------------------------

function cells(row, into,    n, i)
{
	gsub(/\\\|/, "\001", row)
	sub(/^ *\| */, "", row)
	sub(/ *\| *$/, "", row)
	n = split(row, into, / *\| */)
	for (i = 1; i <= n; i++)
		gsub(/\001/, "|", into[i])
	return n
}

# The first cell is the term, the last one tells of it; what is between goes behind the term.
function table_row(row,    n, cell, i, said)
{
	if (row ~ /^[| :-]+$/)
		return
	n = cells(row, cell)
	if (!columns) {
		columns = cells(row, header)
		return
	}
	if (n != columns)
		fail(NR, "a row of " n " cells under " columns " headings")
	for (i = 2; i < n; i++)
		said = said (said == "" ? " (" : ", ") (cell[i] == "required" ? "" : header[i] ": ") cell[i]
	print ".TP"
	put(inline(cell[1] (said == "" ? "" : said ")")))
	put(cell[n] == "" ? "\\&" : inline(cell[n]))
}

# ---- lines ------------------------------------------------------------------------------------------------------------

function take(text)
{
	if (text ~ /^```/) {
		flush()
		fenced = !fenced
		if (!fenced)
			end_literal()
		return
	}
	if (fenced) {
		literal(text)
		return
	}
	if (text ~ /^    / && kind == "") {
		literal(substr(text, 5))
		return
	}
	if (in_literal && text == "") {
		blank_lines++
		return
	}
	end_literal()
	if (text !~ /^\|/)
		columns = 0
	if (text == "") {
		flush()
	} else if (text ~ /^#+ /) {
		flush()
		heading(text)
	} else if (text ~ /^\|/) {
		flush()
		table_row(text)
	} else if (text ~ /^- /) {
		begin("item", substr(text, 3))
		mark = "\\(bu"
		indent = 2
	} else if (match(text, /^[0-9]+\. /)) {
		mark_len = RLENGTH
		begin("item", substr(text, mark_len + 1))
		mark = substr(text, 1, mark_len - 1)
		indent = 4
	} else if (text ~ /^: /) {
		term = gathered
		kind = gathered = ""
		begin("definition", substr(text, 3))
	} else if (kind == "") {
		begin("paragraph", text)
	} else {
		gather(text)
	}
}

{ take($0) }

END {
	if (failed)
		exit 1
	flush()
	end_literal()
}
